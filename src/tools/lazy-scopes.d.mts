export interface LazyScopes {
  shared: { [scope: string]: string[] };
  stay?: { [file: string]: string[] };
}

export function moveIntoScopes(
  code: string,
  fileAt: (position: number) => { file: string | null; exported: string[] },
  options: LazyScopes,
): { code: string; map: object };

export function lazyScopes(root: string, options: LazyScopes): { name: string; renderChunk: unknown };
