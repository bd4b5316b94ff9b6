import { z } from 'zod';

/** Times as steel speaks them: UTC without a zone, microseconds as Python writes them. */
export const steelTimeSchema = z.iso
  .datetime({ local: true })
  .meta({ example: '2025-01-14T10:00:00.000000', description: 'UTC, without a zone' });

export const steelTime = (time: Date): string => `${time.toISOString().slice(0, -1)}000`;
