/** The history of agents' metrics, for charts. */
import { z } from 'zod';
import { timeSchema } from './shared.ts';

/**
 * Two rings of samples an agent, each as long as it ever gets: a quarter of an hour in steps of 15 s, 30 days in steps of
 * a quarter of an hour. A new sample takes the place of the oldest.
 */
export const METRICS_STEPS = {
  fine: { seconds: 15, slots: 60 },
  coarse: { seconds: 900, slots: 2_880 },
} as const;

export const metricsResolutions = ['fine', 'coarse'] as const;
export type MetricsResolution = (typeof metricsResolutions)[number];

const percent = z.number().nullable();

export const metricsSampleSchema = z.object({
  at: timeSchema.meta({ description: 'Start of the step' }),
  cpuPercent: percent,
  memoryPercent: percent,
  diskPercent: percent.meta({ description: 'Of the fullest disk' }),
  cpuPercentMax: percent,
  memoryPercentMax: percent,
  diskPercentMax: percent,
});

export const metricsHistorySchema = z
  .object({
    agentId: z.string(),
    resolution: z.enum(metricsResolutions),
    stepSeconds: z.int(),
    samples: z
      .array(metricsSampleSchema)
      .meta({ description: 'Oldest first; steps without a word are left out' }),
  })
  .meta({ id: 'AgentMetricsHistory' });
export type MetricsHistory = z.infer<typeof metricsHistorySchema>;

export const metricsQuerySchema = z.strictObject({
  resolution: z
    .enum(metricsResolutions)
    .default('fine')
    .meta({ description: 'fine: the last 15 minutes by 15 s; coarse: the last 30 days by 15 minutes' }),
});
