// The part of a manifest that says where the image keeps Storage. Pure: the command on the host uses it too.

/** Where a build keeps Storage; `address` and `size` in bytes. */
export interface StorageClaim {
  /** label of the partition through which it reads */
  partition: string;
  address: number;
  size: number;
}
