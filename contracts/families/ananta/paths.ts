import { defineRoute, type RouteContract } from '../../route.ts';

/** The same route on further paths: clients of the family know most routes under two of them. */
export function onPaths<const Contract extends RouteContract>(
  contract: Contract,
  ...aliases: RouteContract['path'][]
): readonly Contract[] {
  const paths = [contract.path, ...aliases];
  return paths.map((path) => defineRoute({ ...contract, path }));
}
