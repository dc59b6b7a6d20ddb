"""From files to token ids: readers, generated sentences, and the tokenised corpus."""
