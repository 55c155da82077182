// A line on which a person can watch an update of a virtual device.
import http from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { sleep } from "../../support/fixture.ts";
import { ask } from "../cli/cli-serving.ts";

const PIECE = 12_000;

/**
 * A proxy that fetches a file in pieces, at a rate that a person could watch: the sockets of one computer would take all of
 * it at once.
 */
export async function slowProxy(t: Pick<TestContext, "after">, target: number, pauseMs = 60): Promise<number> {
  const proxy = http.createServer(async (request, response) => {
    const [, first = "0"] = /^bytes=(\d+)-$/.exec(request.headers.range ?? "") ?? [];
    const { "x-device": serial, "user-agent": agent, "if-range": tag } = request.headers;
    const about = { "X-Device": serial, "User-Agent": agent, ...(tag ? { "If-Range": tag } : {}) };
    let size = Number.POSITIVE_INFINITY;
    for (let at = Number(first); at < size && !response.destroyed; at += PIECE) {
      const headers = { ...about, Range: `bytes=${at}-${at + PIECE - 1}` } as http.OutgoingHttpHeaders;
      const reply = await ask(`http://127.0.0.1:${target}${request.url}`, { headers });
      size = Number(/\/(\d+)$/.exec(String(reply.headers["content-range"]))?.[1]);
      if (!response.headersSent)
        response.writeHead(206, {
          "Content-Range": `bytes ${first}-${size - 1}/${size}`,
          "Content-Length": size - Number(first),
          ETag: reply.headers.etag as string,
        });
      response.write(reply.body);
      await sleep(pauseMs);
    }
    response.end();
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    proxy.close();
    proxy.closeAllConnections();
  });
  return (proxy.address() as AddressInfo).port;
}
