import react from '@vitejs/plugin-react'
import { defineConfig } from 'vitest/config'

/** The API's address for `npm run dev`; the fake server of dev/ has the same default. */
const api = process.env['CELL_MONITOR_DEV_API'] ?? 'http://127.0.0.1:8900'

export default defineConfig({
  plugins: [react()],
  build: {
    // light-dark() and nesting stay as written: every browser since mid-2024 reads them.
    cssTarget: ['chrome123', 'firefox121', 'safari17.5'],
    // A data: URL would need a wider Content-Security-Policy than the page is served with.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
  },
  server: {
    host: '127.0.0.1',
    port: 5173,
    proxy: { '/api': { target: api, changeOrigin: false } },
  },
  test: {
    environment: 'jsdom',
    setupFiles: ['src/testing/setup.ts'],
    include: ['src/**/*.test.{ts,tsx}'],
    restoreMocks: true,
    testTimeout: 30_000,
    maxWorkers: 2,
    css: false,
  },
})
