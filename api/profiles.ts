/** Which dialect the listener speaks that accepted a request. */
import type { IncomingMessage } from 'node:http';
import type { Profile } from '../contracts/families/family.ts';

/** Dialect where no listener has set one (an app that is driven without `listen`). */
const defaultProfile: Profile = 'steel';

const profileByRequest = new WeakMap<IncomingMessage, Profile>();

/** Called by the listener that accepted the request. */
export function setProfile(request: IncomingMessage, profile: Profile): void {
  profileByRequest.set(request, profile);
}

export function profileOf(request: IncomingMessage): Profile {
  return profileByRequest.get(request) ?? defaultProfile;
}
