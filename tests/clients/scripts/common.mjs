// What the scripts of JavaScript's clients have in common, as in common.py.

import { z } from "zod";

export const [URL, ENDPOINT] = process.argv.slice(2);
export const MODEL = "demo";
export const KEY = "none";
export const HELLO = "Hello!";
export const WEATHER = "What is the weather in Paris and in Oslo?";
export const MAX_TOKENS = 200;

export const City = z.object({ name: z.string().max(30), country: z.string().max(30) });

export const DESCRIPTION = "Get the current weather for a city";
export const Parameters = z.object({ location: z.string().describe("City name") });

export function getWeather({ location }) {
  const [temperature, conditions] = { Paris: [18, "light rain"], Oslo: [7, "snow"] }[location];
  return JSON.stringify({ location, temperature, unit: "celsius", conditions });
}

export function report(results) {
  console.log(JSON.stringify(results));
}
