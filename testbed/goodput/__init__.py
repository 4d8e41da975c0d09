"""How much of a link slfac's transport uses, beside iperf3 over the same emulated link."""
