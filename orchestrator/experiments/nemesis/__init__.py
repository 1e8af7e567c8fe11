"""Search for fault schedules under which a protocol breaks a promise, in simulations; and the smallest such schedule."""
