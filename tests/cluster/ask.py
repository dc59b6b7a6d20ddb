"""The status with which a URL answers: `ask.py URL [--header 'Name: value']... [--body]`."""

from __future__ import annotations

import argparse
import urllib.error
import urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("--header", action="append", default=[])
parser.add_argument("--body", action="store_true", help="print what it answers, too")
options = parser.parse_args()
request = urllib.request.Request(options.url)
for header in options.header:
    request.add_header(*header.split(": ", 1))
try:
    with urllib.request.urlopen(request, timeout=20) as answer:
        print(answer.status)
        if options.body:
            print(answer.read().decode())
except urllib.error.HTTPError as refused:
    print(refused.code)
