"""HTTP with services on this machine, where no TLS is spoken."""

import ssl

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""`verify` of an httpx client. It trusts nobody; httpx's own reads every authority's certificate for each client anew,
which takes as long as twenty requests."""
