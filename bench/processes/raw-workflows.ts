/** The peers: the plainest workflows there can be, one and two no-op activities, on the same server. */
import { proxyActivities } from '@temporalio/workflow';

const { nothing } = proxyActivities<{ nothing(): Promise<void> }>({ startToCloseTimeout: '30 s' });

export async function oneActivity(): Promise<void> {
  await nothing();
}

export async function twoActivities(): Promise<void> {
  await nothing();
  await nothing();
}
