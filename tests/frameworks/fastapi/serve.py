# uvicorn as a program starts it itself, with the half second in which clients let go of their connections.
import asyncio

import srvwrap
import uvicorn


class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        srvwrap.online()

    async def shutdown(self, sockets=None):
        for server in self.servers:
            server.close()  # accept no more
        self.server_state.default_headers.append((b"connection", b"close"))
        await asyncio.sleep(0.5)
        await super().shutdown(sockets)


Server(uvicorn.Config("app:app", access_log=False)).run(srvwrap.listeners() or None)
