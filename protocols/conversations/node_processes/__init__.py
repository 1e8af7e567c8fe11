"""Starting and stopping the processes of nodes."""
