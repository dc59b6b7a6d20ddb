"""Which TCP ports of an address take a connection, one a line: `scan.py ADDRESS [PORT...]`.

All ports if none is named.  A closed one refuses at once; where a firewall swallows what it gets,
name the ports.
"""

from __future__ import annotations

import socket
import sys

_PATIENCE_S = 1.0

for port in [int(word) for word in sys.argv[2:]] or range(1, 65536):
    with socket.socket() as probe:
        probe.settimeout(_PATIENCE_S)
        is_open = probe.connect_ex((sys.argv[1], port)) == 0
        # On loopback a probe whose own port is the one it asks for finds itself.
        if is_open and probe.getsockname() != probe.getpeername():
            print(port)
