"""Work that outlives a request. SQL is the truth about it; the broker is a doorbell that may be lost.

`service.py` is the gateway's side (enqueue, cancel, look), `leases.py` the workers' (claim, renew, finish).
"""
