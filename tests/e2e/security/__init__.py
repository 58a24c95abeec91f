"""The catalogue of attacks and faults as tests, judged by what reached a raw socket behind the gateway."""
