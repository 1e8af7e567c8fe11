"""The process that leads one run: rendezvous, supervision, collection. It outlives the terminal and never touches the data."""
