// What a manifest says of the place of Storage. Pure: the command on the host has it too.

/** Where a build keeps Storage; `address` and `size` in bytes. */
export interface StorageClaim {
  /** label of the partition through which it reads */
  partition: string;
  address: number;
  size: number;
}
