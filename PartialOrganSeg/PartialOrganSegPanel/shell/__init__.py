"""What every section stands on: child process, installer, dialogs, progress, settings, the list of models."""
