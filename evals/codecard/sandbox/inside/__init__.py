"""What runs inside a slot: standard library only. The host shares nothing with it but `wire`."""
