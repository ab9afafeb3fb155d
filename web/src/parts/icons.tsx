// icons.tsx: the few drawings of the page, as elements (nothing is loaded, nothing is inlined as text).
import type { ComponentChildren, JSX } from "preact";

function Icon({ children }: { children: ComponentChildren }): JSX.Element {
  return (
    <svg viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">
      {children}
    </svg>
  );
}

export const Overview = () => <Icon><path d="M2 12.5h12M2 8.5h12" /><rect x="2" y="3" width="4" height="3" rx=".8" /><rect x="7.5" y="3" width="6.5" height="3" rx=".8" /></Icon>;
export const Tasks = () => <Icon><path d="M6 4h8M6 8h8M6 12h8M2 4l.8.8L4.2 3.2M2 8l.8.8L4.2 7.2M2.3 12h1.4" /></Icon>;
export const Workers = () => <Icon><rect x="2" y="2.5" width="12" height="4.5" rx="1" /><rect x="2" y="9" width="12" height="4.5" rx="1" /><path d="M4.5 4.75h.01M4.5 11.25h.01M8 4.75h3.5M8 11.25h3.5" /></Icon>;
export const Models = () => <Icon><path d="M8 1.8 13.5 5v6L8 14.2 2.5 11V5z" /><path d="M2.7 5.1 8 8.2l5.3-3.1M8 8.2v5.8" /></Icon>;
export const Chat = () => <Icon><path d="M2.5 3.5h11v7.5h-6L4.5 13.5V11h-2z" /><path d="M5 6.2h6M5 8.4h4" /></Icon>;
export const Keys = () => <Icon><circle cx="5" cy="11" r="2.7" /><path d="m7 9 6-6M10.5 5.5l2 2" /></Icon>;
export const Accounts = () => <Icon><circle cx="6" cy="5.5" r="2.5" /><path d="M1.8 13.5c.3-2.6 2-4 4.2-4s3.9 1.4 4.2 4M10.5 3.3a2.4 2.4 0 0 1 0 4.5M12.2 10c1.2.6 1.9 1.8 2.1 3.5" /></Icon>;
export const Audit = () => <Icon><path d="M4 2h6l3 3v9H4z" /><path d="M9.8 2.2V5.2H13M6 8h4.5M6 10.8h4.5" /></Icon>;
export const Plus = () => <Icon><path d="M8 3v10M3 8h10" /></Icon>;
export const Sun = () => <Icon><circle cx="8" cy="8" r="2.8" /><path d="M8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3M3.4 3.4l.9.9M11.7 11.7l.9.9M12.6 3.4l-.9.9M4.3 11.7l-.9.9" /></Icon>;
export const Moon = () => <Icon><path d="M13.5 9.8A6 6 0 0 1 6.2 2.5a6 6 0 1 0 7.3 7.3z" /></Icon>;
export const Screen = () => <Icon><rect x="2" y="3" width="12" height="8" rx="1" /><path d="M6 13.5h4" /></Icon>;
export const Out = () => <Icon><path d="M6.5 2.5h-4v11h4M10.5 5 13.5 8l-3 3M6 8h7.5" /></Icon>;

export function Mark(): JSX.Element {
  return (
    <svg viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="7" fill="#10202e" />
      <path d="M6 20h20" stroke="#4fb3d9" stroke-width="2.4" stroke-linecap="round" />
      <path d="M6 25h20" stroke="#4fb3d9" stroke-opacity=".45" stroke-width="2.4" stroke-linecap="round" />
      <rect x="7" y="9" width="7" height="7" rx="1.4" fill="#4fb3d9" />
      <rect x="16" y="9" width="4" height="7" rx="1.2" fill="#e3b062" />
      <rect x="22" y="9" width="3.4" height="7" rx="1.2" fill="#7fc99a" />
    </svg>
  );
}
