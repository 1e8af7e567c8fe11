"""What an agent remembers: whole episodes, and transitions drawn from them."""
