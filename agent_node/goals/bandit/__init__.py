"""Goal source: softmax over running rewards."""
