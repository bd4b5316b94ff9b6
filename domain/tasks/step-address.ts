/** Which step of which run: a task that has ended and begins anew numbers its steps from 1 again. */
export interface StepAddress {
  /** Row id. */
  taskId: string;
  runNo: number;
  stepNo: number;
}

/** As an idempotency key remembers it: the task is the one it was sent for. */
export const textOfAddress = ({ runNo, stepNo }: StepAddress): string => `${runNo}/${stepNo}`;

export function stepAddressOf(taskId: string, text: string): StepAddress {
  const [runNo = '', stepNo = ''] = text.split('/');
  return { taskId, runNo: Number(runNo), stepNo: Number(stepNo) };
}
