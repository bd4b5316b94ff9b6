/** Approved in manual mode, and not executed yet. */
export const isHeld = (step: { decision: string | null; batchId: string | null }): boolean =>
  (step.decision === 'approve' || step.decision === 'edit') && step.batchId === null;
