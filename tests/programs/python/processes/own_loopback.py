"""A server and fifty clients in one process, over the loopback inside the stack."""

import asyncio


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def client(port, payload):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(payload)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    assert answer == payload, (len(answer), len(payload))
    return len(answer)


async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    total = sum(await asyncio.gather(*(client(port, bytes([number]) * 200_000) for number in range(50))))
    print(total)


asyncio.run(main())
