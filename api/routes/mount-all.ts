import type { Handler, RouteContract } from '../../contracts/route.ts';
import { type MountedRoute, mount } from '../mount.ts';

/** One handler for a route that stands on several paths. */
export function mountAll<const Contract extends RouteContract, Handle extends Handler<Contract>>(
  contracts: readonly Contract[],
  handler: Handle,
): MountedRoute[] {
  return contracts.map((contract) => mount<Contract, Handle>(contract, handler));
}
