"""In place of ssl, which pyroute2 imports to probe servers, and which would add 5 MB of OpenSSL to the bundle."""


class SSLWantReadError(OSError):
    """What asyncio, which finds an ssl, expects in it."""


class SSLSyscallError(OSError):
    """What asyncio, which finds an ssl, expects in it."""
