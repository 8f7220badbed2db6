/**
 * Where the mail of a next hop goes (RFC 5321 §5.1: "from the domain, or the operator's route for it"): next hop and
 * settings in, a `Route` out. Asking DNS for what the route leaves open is delivery/gather.ts.
 */
import type { DeliverySettings, RouteSettings } from "../config/settings.ts";
import { literalAddress, type NextHop, withoutBrackets } from "../mail/domain.ts";
import { canonicalPattern, findByDomain } from "../mail/domain-pattern.ts";
import type { Route } from "./plan.ts";

type ConfiguredRoute = Extract<Route, { kind: "configured" }>;

const MX: Route = { kind: "mx" };

// Compiled once for each configuration: a route is asked for with every attempt.
const compiledRoutes = new WeakMap<DeliverySettings, ReadonlyMap<string, ConfiguredRoute>>();

/**
 * The route of the most specific pattern: the name itself, `.parent`, `*`, then the relayhost. What the operator set comes
 * before what an address says: with a relayhost, mail to an address literal goes there too.
 */
export function findRoute(nextHop: NextHop, delivery: DeliverySettings): Route {
  let routes = compiledRoutes.get(delivery);
  if (routes === undefined) {
    routes = compileRoutes(delivery);
    compiledRoutes.set(delivery, routes);
  }
  const configured = routes.size === 0 ? undefined : (findByDomain(nextHop, routes) ?? routes.get("*"));
  if (configured !== undefined) return configured;
  const address = literalAddress(nextHop);
  return address === undefined ? MX : { kind: "literal", address };
}

function compileRoutes(delivery: DeliverySettings): ReadonlyMap<string, ConfiguredRoute> {
  const routes = new Map<string, ConfiguredRoute>();
  delivery.routes.forEach((route, index) => {
    const configured = configuredRoute(route, `delivery.routes[${index}]`);
    for (const pattern of route.domains.map(canonicalPattern)) {
      // The first of two routes for one pattern counts, as people read the file.
      if (!routes.has(pattern)) routes.set(pattern, configured);
    }
  });
  if (delivery.relayhost !== undefined && !routes.has("*")) routes.set("*", configuredRoute(delivery.relayhost, "relayhost"));
  return routes;
}

function configuredRoute(route: RouteSettings, setting: string): ConfiguredRoute {
  const { host, port, tls, tlsName, rootsFile, username, password } = route;
  return {
    kind: "configured",
    host: withoutBrackets(host),
    port,
    tls,
    setting,
    ...(tlsName !== undefined && { tlsName }),
    ...(rootsFile !== undefined && { rootsFile }),
    ...(username !== undefined && { login: { username, password: password ?? "" } }),
  };
}
