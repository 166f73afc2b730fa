"""The program behind `tests.counting`: needs the standard library only. Takes a port, a file and a delay in seconds."""

import asyncio
import os
import sys

REPLIES = {
    b"EHLO": b"250-counting.example.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n",
    b"MAIL": b"250 2.1.0 Ok\r\n",
    b"RCPT": b"250 2.1.5 Ok\r\n",
    b"DATA": b"354 Go on\r\n",
    b"QUIT": b"221 2.0.0 Bye\r\n",
}


async def serve(port: int, accepted: int, delay: float) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 counting.example.test ESMTP\r\n")
        recipient = b""
        try:
            while line := await reader.readline():
                verb = line[:4].upper()
                writer.write(REPLIES.get(verb, b"250 2.0.0 Ok\r\n"))
                if verb == b"RCPT":
                    recipient = line.partition(b"<")[2].partition(b">")[0]
                elif verb == b"DATA":
                    while await reader.readline() not in {b".\r\n", b""}:
                        pass
                    if reader.at_eof():
                        break
                    await asyncio.sleep(delay)
                    os.write(accepted, recipient + b"\n")
                    writer.write(b"250 2.0.0 Ok: queued\r\n")
                elif verb == b"QUIT":
                    break
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(
        serve(int(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT), float(sys.argv[3]))
    )
