"""Fine-tuning of published models through real devices and a real server."""
