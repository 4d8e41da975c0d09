"""Real servers, devices and relays for the integration tests."""
