import { javascriptAgent } from './agent-fixture.ts';
import { killScenarios } from './kill-scenarios.ts';

killScenarios(javascriptAgent);
