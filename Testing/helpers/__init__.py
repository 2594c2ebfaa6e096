"""What tests share: small data, files, networks and runs. A file a subject, imported as `Testing.helpers.SUBJECT`."""
