"""Push-sum averaging with running sums: exact under message loss, delay, repetition and reordering."""
