/** The steps that differ when the command is delivered by Temporal: from the decision to the stored outcome. */
import { testMatrix } from './matrix.ts';
import { points } from './points.ts';

testMatrix({
  points: points.filter((point) => point.isDelivery),
  victims: ['api', 'agent', 'everything'],
  delivery: 'temporal',
});
