"""The parts of benches/compare: Portcullis beside HAProxy and nginx at the same work."""
