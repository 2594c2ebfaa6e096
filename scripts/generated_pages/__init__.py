"""The pages of docs/ that are made from the code, and the README's table: a page is a function that gives its text."""
