import { javascriptAgent } from './agent-fixture.ts';
import { restartScenarios } from './restart-scenarios.ts';

restartScenarios(javascriptAgent);
