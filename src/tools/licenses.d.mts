import type { Plugin } from "rollup";

export function packagesOf(modules: string[]): string[];
export function licenseOf(folder: string): { title: string; license: string; text: string };
export function licensesText(folders: string[]): string;
export function licenses(fileName: string): Plugin;
