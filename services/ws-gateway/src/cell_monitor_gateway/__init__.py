"""Cell Monitor's WebSocket gateway: live publications with recovery."""
