"""Many CTs: which ones, which are finished, who segments which, and the table of what became of them."""
