"""The pages of docs/ that are made from the code, and the README's table: one module a page, each with `page() -> str`."""
