// The page of `serve`: it reads the JSON of docs/serve-api.md, and shows it. It changes nothing.
import type { Events } from "../api.ts";
import { byId, keepTableRoles } from "./dom.ts";
import { drawFleet, loadReports, takeForgotten, takeReport } from "./fleet.ts";
import { drawLive, takeDevice, takeDownload, takeRefusal, takeSnapshot } from "./live.ts";
import { drawAges, loadReleases, startOffers } from "./offers.ts";

/** ms until the next try when the server refused the stream: EventSource itself gives up then */
const RETRY = 5000;
/** ms: ages grow */
const MINUTE = 60_000;

function showConnection(state: "on" | "off", text: string): void {
  const place = byId("connection");
  place.dataset.state = state;
  if (place.textContent !== text) place.textContent = text;
}

const TAKE: { [N in keyof Events]: (data: Events[N]) => void } = {
  snapshot: takeSnapshot,
  device: takeDevice,
  download: takeDownload,
  refusal: takeRefusal,
  report: takeReport,
  forgotten: takeForgotten,
  releases: () => void load(),
};

async function load(): Promise<void> {
  try {
    await Promise.all([loadReleases(), loadReports()]);
  } catch {
    // the next connection brings it
  }
}

function connect(): void {
  const stream = new EventSource("/-/api/events");
  stream.addEventListener("open", () => {
    showConnection("on", "Live");
    void load();
  });
  stream.addEventListener("error", () => {
    showConnection("off", "No connection to serve");
    if (stream.readyState === EventSource.CLOSED) setTimeout(connect, RETRY);
  });
  for (const [name, take] of Object.entries(TAKE) as [string, (data: any) => void][])
    stream.addEventListener(name, (event) => take(JSON.parse((event as MessageEvent<string>).data)));
}

startOffers();
keepTableRoles();
addEventListener("resize", drawLive);
connect();
setInterval(() => {
  drawLive();
  drawAges();
  drawFleet();
}, MINUTE);
