/**
 * What a task workflow goes through, as scripts. The same scenarios are the tests of the workflow and the histories of
 * the replay test (`test/replay/record.ts`), so both cover the same paths.
 */

import { decisionScenarios } from './scenarios-deciding.ts';
import { cancelScenarios } from './scenarios-ending.ts';
import { judgingScenarios } from './scenarios-judging.ts';
import { waitingScenarios } from './scenarios-waiting.ts';
import type { Play, PlayOptions } from './scripted-worker.ts';

export interface Scenario {
  /** Also the name of the recorded history. */
  name: string;
  /** State of a scenario lives in the closure: it is prepared anew for each run. */
  prepare(): { options: PlayOptions; drive(play: Play): Promise<void> };
}

export const scenarios: readonly Scenario[] = [
  ...decisionScenarios,
  ...waitingScenarios,
  ...cancelScenarios,
  ...judgingScenarios,
];
