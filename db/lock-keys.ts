/**
 * Keys of all advisory locks of the system, in one place so that no two are equal: a lock taken for one thing must never
 * wait for another one. Keys below a thousand past the first are ours; tests use higher ones.
 */
export const lockKeys = {
  /** Held by a run of migrations. */
  migrations: 7_305_001,
  /** The first account, and changes that could leave no administrator. */
  accounts: 7_305_002,
  /** Changes of settings. */
  settings: 7_305_008,
  /** Creating saved commands, whose number is limited. */
  savedCommands: 7_305_009,
  /** Changes of what tasks depend on: two at once could make a circle that neither sees. */
  taskDependencies: 7_305_004,
  /** Changes of teams, their types, roles and templates: they are few, and at most one team is active. */
  teams: 7_305_005,
  /** Creating rules of alerts, whose number is limited. */
  alertRules: 7_305_006,
  /** Creating schedules, whose number is limited. */
  schedules: 7_305_007,
  /** Creating webhooks, whose number is limited. */
  webhooks: 7_305_060,
  /** First of two keys, the second is the hash of a host name: registrations of one name. */
  hostnames: 7_305_003,
  /** First of two keys, the second is the hash of a principal: openings of terminals, whose number is limited. */
  terminals: 7_305_050,
  /** One worker at a time does each duty; held as long as its session lives. */
  duties: {
    outboxDrainer: 7_305_010,
    commandExpiry: 7_305_011,
    reconciler: 7_305_012,
    sealer: 7_305_013,
    presenceSweep: 7_305_014,
    eventRetention: 7_305_015,
    idempotencyRetention: 7_305_016,
    lagReport: 7_305_017,
    sessionRetention: 7_305_018,
    taskArchival: 7_305_019,
    attemptRetention: 7_305_020,
    webhookFeed: 7_305_061,
    webhookRetention: 7_305_062,
    webhookRepair: 7_305_063,
    terminalSweep: 7_305_051,
    terminalRetention: 7_305_052,
    alertRounds: 7_305_031,
    alertRetention: 7_305_032,
    statsSnapshot: 7_305_033,
    scheduleSweep: 7_305_041,
    scheduleRetention: 7_305_042,
    rolloutReconciler: 7_305_021,
    autopilotTick: 7_305_022,
    urlAgentProbe: 7_305_071,
  },
} as const;
