/** Where the API is that a command talks to. */
import type { Config } from '../config.ts';
import { CommandError, exitCodes } from './exit-codes.ts';

/** @throws CommandError where the configuration names no port */
export function apiAddressOf({ publicUrl, listen, tlsCert }: Config): string {
  if (publicUrl !== null) return publicUrl;
  const [first] = listen;
  if (first === undefined || first.port === 0) {
    throw new CommandError('LISTEN names no port: give --url', { exitCode: exitCodes.usage });
  }
  return `${tlsCert === null ? 'http' : 'https'}://127.0.0.1:${first.port}`;
}
