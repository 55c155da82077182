export function moveIntoChapters(code: string): { code: string; map: object };
