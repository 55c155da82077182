// By which names the page may be asked for. A page of elsewhere can have its own name resolve to this computer (DNS
// rebinding). A browser then takes this server for that page's own, and lets it read everything; only the field Host tells.
// An address in digits and a name that nobody else can define are safe.
import { isIPv4, isIPv6 } from "node:net";
import { hostname } from "node:os";

export interface HostNames {
  /** Why the page is not for who asks by this field Host; null when it is. */
  problem(host: string | undefined): string | null;
  /** Is this field Origin that of the page itself, which was asked for by this field Host? */
  isOwn(origin: string, host: string | undefined): boolean;
}

/** Without port, brackets of IPv6, and the dot of the root; "" when it is not a host. */
function nameIn(host: string): string {
  const [, six, name = ""] = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(host) ?? [];
  return (six ?? name).toLowerCase().replace(/\.$/, "");
}

/** This computer's own: `pc`, `pc.local` by mDNS, and the whole name where the system has one. */
function ownNames(): string[] {
  const whole = hostname().toLowerCase();
  const [first] = whole.split(".");
  return [whole, first, `${first}.local`].filter((name) => name !== "" && name !== ".local");
}

const isAddress = (name: string) => isIPv4(name) || isIPv6(name);

/** `more`: what the user has named, addresses among them. */
export function createHostNames(more: readonly string[]): HostNames {
  const given = more.filter((name) => !isAddress(name)).map((name) => name.toLowerCase());
  const names = new Set(["localhost", ...ownNames(), ...given]);
  const isKnown = (name: string) => isAddress(name) || names.has(name);
  function problem(host: string | undefined): string | null {
    const name = nameIn(host ?? "");
    if (isKnown(name)) return null;
    const found = name ? `the name ${name}` : "a request without a name";
    const remedy = name ? `, or start serve with --allow-host ${name} when this name is yours` : "";
    const known = `its address in digits, or by ${[...names].join(", ")}`;
    return `the page is not served for ${found}: open it by ${known}${remedy}`;
  }
  return {
    problem,
    isOwn(origin, host) {
      if (problem(host) !== null || !URL.canParse(origin)) return false;
      return new URL(origin).host === host?.toLowerCase();
    },
  };
}
