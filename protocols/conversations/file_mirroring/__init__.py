"""Files of a run on another machine: what one side writes, the other has too (`mirror` sends, `copy` receives)."""
